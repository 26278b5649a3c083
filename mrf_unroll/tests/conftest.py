import os

# Set before torch loads, as the commands do: MKL's last bits then do not depend on where a matrix lies in memory.
os.environ.setdefault("MKL_CBWR", "AUTO")
