"""Fitted objects as plain data (numbers, strings, lists, arrays), and the file that holds such
data without code.

Imports no other room.
"""
