"""Receives an uplink with the Python SDK of V2, and answers with a downlink."""

import os
import threading

from ttn import MQTTClient

answered = threading.Event()


def on_uplink(message, client):
    print("uplink", message.dev_id, message.port, message.payload_raw, flush=True)
    client.send(message.dev_id, "yv4=", port=2)


def on_downlink(mid, client):
    answered.set()


address = "127.0.0.1:" + os.environ["PORT"]
client = MQTTClient(os.environ["USER_NAME"], os.environ["KEY"], mqtt_address=address)
client.set_uplink_callback(on_uplink)
client.set_downlink_callback(on_downlink)
client.connect()
ended = answered.wait(60)
client.close()
os._exit(0 if ended else 1)
