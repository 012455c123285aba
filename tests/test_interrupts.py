"""What Ctrl-C may not cut in two."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from wmzoo.interrupts import deferred, terminated_is_interrupted


def ask(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def test_an_interrupt_is_held_back_until_the_outermost_block_has_ended():
    done = []
    with pytest.raises(KeyboardInterrupt):
        with deferred():
            with deferred():
                ask()
                done.append("inner")
            done.append("outer")
        done.append("after")
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_does_not_wait():
    done = []
    with pytest.raises(KeyboardInterrupt), deferred():
        ask()
        done.append("held back")
        ask()
        done.append("never reached")
    assert done == ["held back"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_goes_before_the_error_of_the_block():
    with pytest.raises(KeyboardInterrupt), deferred():
        ask()
        raise ValueError("of the block")


def test_a_request_to_end_is_held_back_where_it_is_taken_for_an_interrupt_and_nowhere_else():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminated_is_interrupted():
        with deferred():
            ask(signal.SIGTERM)
            done = True
    assert done and signal.getsignal(signal.SIGTERM) is before
    with deferred():
        assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_need_no_holding_back():
    inside = []

    def work():
        with deferred():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [signal.default_int_handler]
