"""Inputs whose values have a meaning of their own, such as the shape of a Reshape, and cannot be drawn at random.

`table.ROLES` says for (operator, position of an input) how a valid value follows from the shapes around the node;
`find_roles` finds the inputs of a model file that feed such a position.
"""

from exporter.parity.input_roles.roles import DerivedValue, InputRoles, find_roles

__all__ = ["DerivedValue", "InputRoles", "find_roles"]
