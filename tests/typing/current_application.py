"""`current_application`: there may be none."""

from typing import assert_type

import justitia_sdk as justitia

assert_type(justitia.current_application(), justitia.Application | None)

justitia.current_application().finish()  # type: ignore[union-attr]
