"""How many layers does a neural ODE need? Its horizon cropped, the rest in as few steps as a budget allows."""
