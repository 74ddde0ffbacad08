"""`configure`: by keyword only."""

import justitia_sdk as justitia

justitia.configure(strict=True)

justitia.configure(True)  # type: ignore[call-arg]
justitia.configure()  # type: ignore[call-arg]
justitia.configure(strict="yes")  # type: ignore[arg-type]
