"""The one exception that a command shows as a line instead of a trace."""


class UserError(ValueError):
  """A mistake of the user's, said in one line.

  The message names the field, file or flag, what was wrong and what would be
  right. A command prints it and ends with exit code 2.
  """


def printable(text: str) -> str:
  r"""The text on one line, with nothing in it that a terminal would obey.

  Names come from other people's files: a control character moves the cursor,
  a mark of direction turns the line around.

  >>> printable("a  b"), printable("red" + chr(27) + "[31m"), printable("ß 李")
  ('a b', 'red\\x1b[31m', 'ß 李')
  """
  return "".join(
    letter
    if letter.isprintable()
    else letter.encode("unicode_escape").decode("ascii")
    for letter in " ".join(text.split())
  )


class DivergedError(UserError):
  """The numbers of a training went wrong, and it was stopped."""
