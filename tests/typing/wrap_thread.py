"""`wrap_thread`: the thread itself."""

import threading
from typing import assert_type

import justitia_sdk as justitia


class Worker(threading.Thread):
    """Somebody's own kind of thread."""


assert_type(justitia.wrap_thread(threading.Thread(target=print)), threading.Thread)
assert_type(justitia.wrap_thread(Worker()), Worker)

justitia.wrap_thread("work")  # type: ignore[type-var]
