"""`uninstrument`: no arguments, no result."""

import justitia_sdk as justitia

justitia.uninstrument()

justitia.uninstrument(1)  # type: ignore[call-arg]
