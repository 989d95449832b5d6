"""Trainings of a process run one after another, whichever threads call them."""

import threading

LOCK = threading.RLock()  # random generators, Keras's registries and torch's compiler are global to the process
