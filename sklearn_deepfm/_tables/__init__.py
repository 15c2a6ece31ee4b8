"""Any table as columns of Arrow, whole or, as a stream, part by part.

Imports no other room.
"""
