"""Network modules that do not depend on any whole model."""
