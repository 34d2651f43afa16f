"""Receives an uplink with Eclipse Paho, and answers with a downlink."""

import os
import sys

import paho.mqtt.client as mqtt


def say(*words):
    print(*words, flush=True)


def on_connect(client, userdata, flags, reason, properties):
    say("connected", reason)
    client.subscribe(os.environ["FILTER"])


def on_subscribe(client, userdata, mid, reasons, properties):
    say("subscribed", *reasons)


def on_message(client, userdata, message):
    # Only the first one: the next may come while the client closes.
    client.on_message = None
    say("uplink", message.topic, message.payload.decode())
    client.publish(os.environ["TOPIC"], os.environ["MESSAGE"], qos=1)


def on_publish(client, userdata, mid, reason, properties):
    global answered
    answered = True
    client.disconnect()


answered = False
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="python-paho")
client.username_pw_set(os.environ["USER_NAME"], os.environ["KEY"])
if os.environ.get("CA_FILE"):
    client.tls_set(ca_certs=os.environ["CA_FILE"])
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.on_publish = on_publish
client.connect("localhost" if os.environ.get("CA_FILE") else "127.0.0.1", int(os.environ["PORT"]))
client.loop_forever()
sys.exit(0 if answered else 1)
