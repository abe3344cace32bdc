"""Estimators beside those of scikit-learn, and scikit-learn's own checks of them."""
