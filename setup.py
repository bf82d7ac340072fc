from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["lightning_inr*"]), "lightning_inr.conf"])
