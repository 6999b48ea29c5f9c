"""The one exception that a command shows as a line instead of a trace."""


class UserError(ValueError):
  """A mistake of the user's, said in one line.

  The message names the field, file or flag, what was wrong and what would be
  right. A command prints it and ends with exit code 2.
  """
