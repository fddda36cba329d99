#!/usr/bin/env bash
# Run by install.test.ts as: unshare --mount --fork install-in-namespace.sh CHECKOUT SCRATCH PORT
# Installs the server for real, with folders of the system that only this namespace sees, and uses it over OpenSSH.
set -euo pipefail
checkout=$1 scratch=$2 port=$3
step() { echo "== $*"; }

mount --make-rprivate /
cp -a /etc "$scratch/etc"
mount --bind "$scratch/etc" /etc
for folder in /var/lib /usr/local/bin /run /opt; do mount -t tmpfs none "$folder"; done
mkdir -p /opt/holdfast /run/systemd/system /run/sshd
mount --bind "$checkout" /opt/holdfast
# systemd does not run here: systemctl then only does what it can do by files.
export SYSTEMD_OFFLINE=1
cd /root

step install
/opt/holdfast/bin/holdfast server install
/opt/holdfast/bin/holdfast server install >/dev/null
step unit
systemd-analyze verify /etc/systemd/system/holdfast-server.service
systemctl is-enabled holdfast-server
step user
id -un holdfast
stat -c '%U %a' /var/lib/holdfast

# What systemd would do with the unit.
start_server() {
  command=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/holdfast-server.service)
  (
    cd /
    # shellcheck disable=SC2086
    exec setpriv --reuid=holdfast --regid=holdfast --init-groups --no-new-privs \
      env -i HOME=/var/lib/holdfast USER=holdfast PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin $command
  ) >>"$scratch/server.log" 2>&1 &
  server=$!
  until [ -S /var/lib/holdfast/api.sock ] && holdfast host list >/dev/null 2>&1; do
    kill -0 $server || { cat "$scratch/server.log"; exit 1; }
    sleep 0.1
  done
}

ssh-keygen -q -t ed25519 -N '' -f "$scratch/host_key"
cat >"$scratch/sshd_config" <<END
Port $port
ListenAddress 127.0.0.1
HostKey $scratch/host_key
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
END
/usr/sbin/sshd -D -f "$scratch/sshd_config" -E "$scratch/sshd.log" &
sshd=$!
trap 'kill $server $sshd 2>/dev/null; wait' EXIT
start_server
step server
ps -o user= -p $server
ls /var/lib/holdfast/recovery-key-default.txt

step host
mkdir "$scratch/files"
echo "some text" >"$scratch/files/text"
holdfast policy add small --source "$scratch/files" --minimum-interval 0
token=$(holdfast host add web1 --policy small --json | sed -n 's/.*"token":"\([^"]*\)".*/\1/p')
holdfast agent setup holdfast@127.0.0.1:"$port" --name web1 --token "$token" --without-timer
holdfast agent run
holdfast agent restore "latest:$scratch/files" --target "$scratch/restored"
diff -r "$scratch/files" "$scratch/restored"
step hostile
for asked in id "cat /var/lib/holdfast/recovery-key-default.txt" ""; do
  # shellcheck disable=SC2086
  ssh -T -F/dev/null -i /var/lib/holdfast-agent/ssh-key -oUserKnownHostsFile=/var/lib/holdfast-agent/known_hosts \
    -oBatchMode=yes -p "$port" holdfast@127.0.0.1 $asked 2>&1 </dev/null && exit 1
done

# All but the repository is gone; root brings it back, for the server's user.
step adopt
recovery=$scratch/recovery.txt
mv /var/lib/holdfast/recovery-key-default.txt "$recovery"
adopt() { holdfast server adopt /var/lib/holdfast/repositories/default --identity-file "$recovery" "$@"; }
adopt --data "$scratch/other" 2>&1 && exit 1
kill $server
wait $server || true
rm -r /var/lib/holdfast/accounts /var/lib/holdfast/holdfast.sqlite*
adopt
find /var/lib/holdfast ! -user holdfast
start_server
holdfast agent run
step done
