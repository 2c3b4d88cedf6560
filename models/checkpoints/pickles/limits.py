"""Bounds on what a pickle may cost: they hold before anything is built, whatever the file claims.

A pickle is a program for a stack machine. A byte of it can copy a reference, so a small file can describe values whose
hash or text takes for ever; a byte can create a container, so a large file can fill the memory with empty lists.
"""

from models.checkpoints.pickles.errors import PickleError

MAX_OPCODES = 2_000_000
"""Opcodes of all pickles of a file. A state_dict takes 50 for a tensor; a list of a million losses takes a million."""

OBJECT_COST = 4
"""What an opcode that makes a container or a record of an object, a class or a function counts for beside itself."""

MAX_DEPTH = 1000
"""Containers inside one another. Python's own pickler recurses and ends at about this depth."""

HEADROOM = 128 << 20
"""What is decoded or copied may take this many bytes and the file's size; views of the file cost nothing."""

LARGE = 64 << 10
"""Texts and bytes that are longer stay views of the file until it is known what they are: mostly an array's values."""

MAX_NAME = 1000
"""Characters of a module's or function's name."""

MAX_GLOBALS = 10_000
"""Different classes and functions that a file may name; each is remembered and looked up."""

MAX_INTEGER_BYTES = 512
"""An integer that is longer is refused: converting it to decimal digits takes quadratic time."""

MAX_COSTLY_KEYS = 4096
"""Dict keys whose hash a file can choose (floats, tuples, integers beyond 2**61 - 1): with equal hashes, inserting them
takes quadratic time. Texts and bytes have a secret seed, smaller integers are their own hash."""

MAX_KEY_ITEMS = 64
"""Items of a tuple that is a dict key, those of inner tuples included, each as often as it occurs."""

MAX_KEY_DEPTH = 4
"""Tuples inside one another in a dict key."""


class Budget:
    """What a file may still cost; shared by all pickles of the file.

    Attributes:
        opcodes: that may still be executed.
    """

    def __init__(self, file_size: int) -> None:
        self.opcodes = MAX_OPCODES
        self._bytes = file_size + HEADROOM
        self._keys = MAX_COSTLY_KEYS

    def charge_opcodes(self, number: int) -> None:
        """Count `number` opcodes.

        Raises:
            PickleError: the file has too many.
        """
        self.opcodes -= number
        if self.opcodes < 0:
            raise PickleError(f"it takes more than {MAX_OPCODES} opcodes, many more than any checkpoint")

    def charge_bytes(self, size: int) -> None:
        """Count `size` bytes that are about to be decoded or copied.

        Raises:
            PickleError: they add up to far more than the file's size.
        """
        self._bytes -= size
        if self._bytes < 0:
            raise PickleError("it unpacks to far more than its own size")

    def charge_key(self) -> None:
        """Count a dict key whose hash the file can choose.

        Raises:
            PickleError: there are too many.
        """
        self._keys -= 1
        if self._keys < 0:
            raise PickleError(f"it has more than {MAX_COSTLY_KEYS} dict keys that are floats, tuples or large integers")
