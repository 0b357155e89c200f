"""Messages for the user have bounds."""

from mobilenet_tf.utils.errors import MAX_CHARACTERS, UserError, reason_of, short, some


def test_a_message_ends_where_a_line_would_be_none_any_more():
    assert str(UserError("x must be y. Received: z")) == "x must be y. Received: z"
    text = str(UserError("Received: " + "z" * 100_000))
    assert len(text) == MAX_CHARACTERS + 2 and text.endswith(" …")


def test_names_values_and_reasons_are_shown_on_one_line():
    assert some(["a", "b", "c"]) == "a, b, c" and some(["a", "b", "c", "d"]) == "a, b, c, …"
    assert short("x" * 9, 11) == repr("x" * 9) and short("x" * 20, 10) == "'xxxxxx..."
    assert reason_of(OSError("no\n  space")) == "no space" and reason_of(KeyError()) == "KeyError"
    assert len(reason_of(ValueError("z" * 5000))) == 300
