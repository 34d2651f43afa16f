"""python_sdk.py PORT APP_ID COUNT: receives COUNT uplinks by callback and prints "done"."""

import os
import sys
import threading

from ttn import MQTTClient

# Longer than any measurement.
PATIENCE = 120

port, app_id, count = sys.argv[1:]
count = int(count)
received = 0
done = threading.Event()


def uplink_callback(message, client):
    global received
    received += 1
    if received == count:
        done.set()


client = MQTTClient(app_id, "ttn-account-v2.bench", mqtt_address="127.0.0.1:" + port)
client.set_uplink_callback(uplink_callback)
client.connect()
in_time = done.wait(PATIENCE)
if in_time:
    print("done", flush=True)
else:
    print("got", received, "of", count, file=sys.stderr, flush=True)
# The SDK would reconnect to a server that is gone.
os._exit(0 if in_time else 1)
