#!/bin/sh
# Fills the corpora with the recorded messages, in every role that the first letter can give them.
set -eu
cd "$(dirname "$0")"

seed() { # target, last letter, folder of recorded messages
    mkdir -p "corpus/$1"
    for file in "../fixtures/$3"/*.json; do
        name=$(basename "$file" .json)
        for letter in a b c d e f g h i j k l m; do
            { printf %s "$letter"; cat "$file"; } >"corpus/$1/$name-$letter"
            [ "$letter" != "$2" ] || break
        done
    done
}

seed decode_v2 m v2
seed decode_v3 l v3

mkdir -p corpus/records
for file in ../fixtures/records/*-* ../fixtures/v3-http/storage-* ../fixtures/v3-http/events-*; do
    for letter in a b; do
        { printf %s "$letter"; cat "$file"; } >"corpus/records/$(basename "$file")-$letter"
    done
done

text() { # target, texts
    target=$1
    shift
    mkdir -p "corpus/$target"
    for text; do
        printf %b "$text" >"corpus/$target/seed-$#"
        shift
    done
}

text topic \
    garden/devices/pump-1/up garden/devices/pump-1/up/gps/latitude \
    garden/devices/pump-1/events/activations/errors garden/devices/pump-1/events/down/sent \
    v3/greenhouse@ttn/devices/bed-07/up v3/greenhouse/devices/bed-07/up/normalized \
    v3/greenhouse@ttn/devices/bed-07/down/invalidated v3/greenhouse@ttn/devices/bed-07/service/data
text address \
    eu1.cloud.thethings.network host:1883 mqtts://host:1883/ mqtt://127.0.0.1:1884 '[2001:db8::7]' \
    'mqtts://[::1]:9' http://host:8080/path https://stack.example.com/api/v3 host:1900
text payload_text 0102 fFa0 AQI= 3q2+7w== 0x01 AQ
# CONNECT, PUBLISH at QoS 0, 1 and 2, SUBSCRIBE, UNSUBSCRIBE, acknowledgements, PINGREQ, DISCONNECT.
text packet \
    '\003\020\044\000\004MQTT\004\306\000\074\000\001c\000\003a/b\000\003bye\000\003app\000\007key.key' \
    '\001\060\007\000\003a/bhi' '\002\062\010\000\003a/b\000\011x\064\010\000\003a/b\000\012y' \
    '\004\202\010\000\007\000\003a/+\001\242\007\000\010\000\003a/+' \
    '\005\100\002\000\003\120\002\000\003\142\002\000\003\160\002\000\003\300\000\340\000'
