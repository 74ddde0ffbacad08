"""`outside_calls`: how many, by place."""

from typing import assert_type

import justitia_sdk as justitia

assert_type(justitia.outside_calls(), dict[str, int])
