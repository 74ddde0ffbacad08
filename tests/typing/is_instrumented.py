"""`is_instrumented`: a plain answer."""

from typing import assert_type

import justitia_sdk as justitia

assert_type(justitia.is_instrumented(), bool)
