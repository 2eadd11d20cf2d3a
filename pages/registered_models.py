"""Models: placeholder"""
