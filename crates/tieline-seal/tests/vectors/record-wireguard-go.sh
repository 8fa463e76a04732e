#!/bin/sh
# Records exchanges with wireguard-go into the file given. Needs root, wireguard-go, wg, ip and bash; works in two network
# namespaces of its own, which it removes. Run it in the crate's folder: tests/vectors/record-wireguard-go.sh FILE
set -eu

out=$1
record=${RECORD:-$(dirname "$0")/../../../../target/debug/examples/record}
ours=tieline-record-a-$$
theirs=tieline-record-b-$$
device=wgr$$
program=$(wireguard-go --version | head -n 1)
scratch=$(mktemp -d)
peer=

clean_up() {
    [ -z "$peer" ] || kill "$peer" 2>/dev/null || true
    ip netns del "$ours" 2>/dev/null || true
    ip netns del "$theirs" 2>/dev/null || true
    rm -rf "$scratch"
}
trap clean_up EXIT INT TERM

ip netns add "$ours"
ip netns add "$theirs"
ip -n "$ours" link add wan0 type veth peer name wan0 netns "$theirs"
ip -n "$ours" addr add 192.0.2.1/24 dev wan0
ip -n "$theirs" addr add 192.0.2.2/24 dev wan0
ip -n "$ours" link set wan0 up
ip -n "$theirs" link set wan0 up

our_key=$(wg genkey)
our_public=$(echo "$our_key" | wg pubkey)
none=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

# A fresh wireguard-go for each exchange: $1 name, $2 preshared key.
exchange() {
    their_key=$(wg genkey)
    echo "$their_key" >"$scratch/key"
    echo "$2" >"$scratch/preshared"
    WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error ip netns exec "$theirs" wireguard-go -f "$device" &
    peer=$!
    tries=0
    until ip netns exec "$theirs" wg show "$device" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 50 ]
        sleep 0.1
    done
    ip netns exec "$theirs" wg set "$device" private-key "$scratch/key" listen-port 51821 \
        peer "$our_public" preshared-key "$scratch/preshared" allowed-ips 10.9.0.1/32 endpoint 192.0.2.1:51820
    ip -n "$theirs" addr add 10.9.0.2/24 dev "$device"
    ip -n "$theirs" link set "$device" up
    ip netns exec "$ours" "$record" "$out" "$1" "$program" "$our_key" "$(echo "$their_key" | wg pubkey)" "$2" \
        192.0.2.2:51821 10.9.0.1 10.9.0.2 &
    recorder=$!
    case $1 in
    answer*)
        sleep 0.5
        ip netns exec "$theirs" bash -c 'echo ahoy >/dev/udp/10.9.0.1/9'
        ;;
    esac
    wait "$recorder"
    kill "$peer"
    wait "$peer" || true
    peer=
}

exchange answer-preshared "$(wg genpsk)"
exchange answer-plain "$none"
exchange open-preshared "$(wg genpsk)"
exchange open-plain "$none"
exchange flooded-preshared "$(wg genpsk)"
