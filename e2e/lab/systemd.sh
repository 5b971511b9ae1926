# Sourced by init.sh on nodes with systemd, after the root was verified: hands PID 1 over to the host's systemd binary.
#
# Everything that acts on hardware, logins or the host's configuration is masked; what remains is the journal, D-Bus and
# hafen-lab.target. The stack is started by a unit, in a scope of its own, with the same stack.sh as on plain nodes.
[ -e "/$MARKER" ] && [ $$ = 1 ] || exit 1
[ -e /sys/fs/cgroup/cgroup.procs ] || { echo "refused: systemd needs cgroup v2" >&2; exit 1; }
[ -x /lib/systemd/systemd ] || { echo "refused: no systemd on this host" >&2; exit 1; }

cat /proc/sys/kernel/random/uuid | tr -d - >/etc/machine-id.new
[ -s /etc/machine-id ] && [ -e /etc/machine-id.of-lab ] || { mv /etc/machine-id.new /etc/machine-id; touch /etc/machine-id.of-lab; }
rm -f /etc/machine-id.new
: >/etc/fstab
# The host's enabled services must not start here: only what this file lists is wanted.
rm -rf /etc/systemd/system/*.wants /etc/systemd/system/*.requires
ln -sfn /etc/systemd/system/hafen-lab.target /etc/systemd/system/default.target
for unit in systemd-remount-fs.service systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket \
    systemd-udevd-kernel.socket systemd-modules-load.service systemd-sysctl.service systemd-logind.service \
    systemd-timesyncd.service systemd-networkd.service systemd-resolved.service systemd-binfmt.service \
    systemd-random-seed.service systemd-update-utmp.service systemd-hwdb-update.service systemd-tmpfiles-clean.timer \
    sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount \
    apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer getty.target console-getty.service; do
    ln -sfn /dev/null "/etc/systemd/system/$unit"
done
cat >/etc/systemd/system/hafen-lab.target <<'UNIT'
[Unit]
Description=Lab node
Requires=basic.target dbus.socket
After=basic.target dbus.socket
Wants=hafen-lab-up.service dbus.service
AllowIsolate=yes
UNIT
cat >/etc/systemd/system/hafen-lab-up.service <<UNIT
[Unit]
Description=Start the stack of the lab and report that the node is up
After=dbus.socket
[Service]
Type=oneshot
RemainAfterExit=yes
KillMode=none
Environment=PATH=$PATH HAFEN_BOOT_ID_FILE=$HAFEN_BOOT_ID_FILE OCF_ROOT=$OCF_ROOT HOME=/root LANG=C.UTF-8
ExecStart=/bin/bash -c '[ ! -e /srv/shared/.lab/$NAME.stack ] || /opt/lab/stack.sh start; cat /run/hafen-boot-id >/srv/shared/.lab/$NAME.up'
UNIT
exec env -i container=hafen-lab PATH="$PATH" /lib/systemd/systemd --log-target=console --show-status=no
