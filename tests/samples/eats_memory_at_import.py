"""Takes memory without end, in a process of its own, while it is imported."""

import subprocess
import sys

subprocess.run([sys.executable, "-c", "eaten = []\nwhile True: eaten.append(b'x' * (16 << 20))"], check=True)
