"""The exceptions a caller can meet, in one small tree.

GenunlearnError
|-- InputError            bad input: exit code 2, nothing has been changed
|   |-- ConfigError       (ValueError)         a key, a type or a value in a configuration
|   |-- DataError         (ValueError)         a fact, a data set or a request that cannot be used
|   |-- NameNotFound      (KeyError)           a name that no table knows; carries near matches
|   |-- SourceNotFound    (FileNotFoundError)  a model, prompt or data file that is not there
|   |-- OutputExists      (FileExistsError)    an output folder that must not be overwritten
|   |-- MismatchError     (ValueError)         parts that do not belong together (patch and base, method and model)
|   `-- NeedNotMet        (ValueError)         a method lacks something it needs (retain data, a package)
`-- RunError              (RuntimeError)       a run that started and failed: exit code 1
    |-- NonFiniteLoss                          a loss term became NaN or infinite
    |-- QualityError                           a build or a run that misses a stated level
    `-- BrokenModel                            a run that has left a model that no longer works

and one warning:

DamageWarning             (UserWarning)        a network that was changed in place may have lost what must stay
"""

from __future__ import annotations


class GenunlearnError(Exception):
    """Root of everything this package raises on purpose."""

    def __str__(self) -> str:
        """The message as given (``KeyError`` would quote it, ``OSError`` would prefix an errno), in one printable line.

        It may quote a key, a path or a library with line breaks, which become spaces, or with what steers a terminal,
        which is escaped.
        """
        text = str(self.args[0]) if self.args else type(self).__name__
        return "".join(c if c.isprintable() else " " if c in "\r\n\t" else repr(c)[1:-1] for c in text)


class InputError(GenunlearnError):
    """The caller's input cannot be used; nothing has been changed."""


class ConfigError(InputError, ValueError):
    """A configuration has an unknown, duplicate, mistyped or out-of-range entry."""


class DataError(InputError, ValueError):
    """A fact, data set or request cannot be used."""


class NameNotFound(InputError, KeyError):
    """A name that no table knows."""


class SourceNotFound(InputError, FileNotFoundError):
    """A model, prompt or data file that is not there or not complete."""


class OutputExists(InputError, FileExistsError):
    """An output that must not be overwritten."""


class MismatchError(InputError, ValueError):
    """Parts that do not belong together, such as a patch and another base."""


class NeedNotMet(InputError, ValueError):
    """A method lacks something that it needs."""


class RunError(GenunlearnError, RuntimeError):
    """A run started and failed."""


class NonFiniteLoss(RunError):
    """A loss term became NaN or infinite."""


class QualityError(RunError):
    """A build or a run misses a stated level."""


class BrokenModel(RunError):
    """A run has left a model that no longer works; nothing was exported."""


class DamageWarning(UserWarning):
    """A network that was changed in place has lost what must stay, or nobody could look.

    ``warnings.simplefilter("error", DamageWarning)`` makes it an error, after which the network is as it was.
    """
