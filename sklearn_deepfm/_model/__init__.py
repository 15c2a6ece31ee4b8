"""DeepFM as a torch module, its layers, and the table rows that a batch touches.

Imports no other room.
"""
