"""Scores of trees and masks against references (never torch)."""
