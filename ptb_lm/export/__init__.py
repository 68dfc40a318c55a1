"""The formats of an exported model."""
