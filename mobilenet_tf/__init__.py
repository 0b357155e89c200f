"""MobileNets from training to the phone."""
