"""Messages for the user have bounds."""

from mobilenet_tf.utils.errors import MAX_CHARACTERS, UserError


def test_a_message_ends_where_a_line_would_be_none_any_more():
    assert str(UserError("x must be y. Received: z")) == "x must be y. Received: z"
    text = str(UserError("Received: " + "z" * 100_000))
    assert len(text) == MAX_CHARACTERS + 2 and text.endswith(" …")
