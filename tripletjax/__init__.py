"""tripletjax."""
