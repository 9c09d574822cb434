# hadoop fs -ls -R /user/flume/flume-rabbitmq | tail
import subprocess

path = z.input("path", "/user/flume/flume-rabbitmq")
listing = subprocess.run(["hadoop", "fs", "-ls", "-R", path], capture_output=True, text=True, timeout=120)
if listing.returncode:
    raise RuntimeError(listing.stderr)
print("\n".join(listing.stdout.splitlines()[-10:]))
