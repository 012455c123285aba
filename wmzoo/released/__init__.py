"""The files of the released TrajWorld code: read without executing anything, and written for its scripts.

Facts of the formats: Yin et al. (2025), the released code. Nothing here needs JAX.
"""
