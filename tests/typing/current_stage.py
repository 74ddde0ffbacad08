"""`current_stage`: there may be none."""

from typing import assert_type

import justitia_sdk as justitia

assert_type(justitia.current_stage(), str | None)
