// Receives an uplink with Node's mqtt, and answers with a downlink.

const fs = require("fs");
const mqtt = require("mqtt");

const { PORT, USER_NAME, KEY, CA_FILE, FILTER, TOPIC, MESSAGE } = process.env;
const url = CA_FILE ? `mqtts://localhost:${PORT}` : `mqtt://127.0.0.1:${PORT}`;
const client = mqtt.connect(url, {
    clientId: "node-mqtt",
    username: USER_NAME,
    password: KEY,
    ca: CA_FILE ? fs.readFileSync(CA_FILE) : undefined,
    reconnectPeriod: 0,
});

client.on("error", (error) => {
    console.error(error);
    process.exit(1);
});
client.on("connect", () => client.subscribe(FILTER));
// Only the first one: the next may come while the client closes.
client.once("message", (topic, payload) => {
    console.log("uplink", topic, payload.toString());
    client.publish(TOPIC, MESSAGE, { qos: 1 }, (error) => {
        client.end(false, {}, () => process.exit(error ? 1 : 0));
    });
});
