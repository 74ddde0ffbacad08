"""What is seen of a running application: counts, sums and waves."""

from justitia_server.prediction.course import Course


def test_calls_that_overlap_are_one_wave():
    """The next wave opens when nothing is open any more."""
    course = Course()
    course.begin_call(10)
    course.begin_call(20)
    course.end_call(10, 3, 36.0)
    course.begin_call(30)
    assert (course.num_waves, course.wave_size, course.first_wave_size) == (1, 3, 3)
    course.end_call(20, 4, 90.0)
    course.end_call(30, 5, 165.0)
    course.begin_call(40)
    assert (course.num_waves, course.wave_size, course.first_wave_size) == (2, 1, 3)


def test_sums_are_of_what_began_and_of_what_was_completed():
    """An aborted call leaves its prompt, and neither tokens nor cost."""
    course = Course()
    course.begin_call(10)
    course.begin_call(20)
    course.abort_call(10)
    course.end_call(20, 4, 90.0)
    assert (course.num_begun, course.num_done, course.num_open) == (2, 1, 0)
    assert (course.prompt_tokens, course.open_prompt_tokens) == (30, 0)
    assert (course.output_tokens, course.cost) == (4, 90.0)
    assert (course.first_prompt_tokens, course.last_prompt_tokens) == (10, 20)
    assert (course.first_output_tokens, course.last_output_tokens) == (4, 4)


def test_a_glimpse_stays_as_it_is():
    """What comes after is not in it."""
    course = Course()
    course.begin_call(10)
    seen = course.glimpse()
    course.begin_call(10)
    assert (seen.num_begun, course.num_begun) == (1, 2)
