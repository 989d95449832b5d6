"""Trainings of a process run one after another."""

import threading

from k3torch.validation.process_lock import LOCK


def test_the_lock_can_be_taken_again_by_its_thread_and_by_no_other():
    with LOCK, LOCK:
        taken = []
        other = threading.Thread(target=lambda: taken.append(LOCK.acquire(blocking=False)))
        other.start()
        other.join()
    assert taken == [False]
