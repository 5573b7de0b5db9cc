# libvirt's QEMU driver runs on these.
[
  "x86_64-linux"
  "aarch64-linux"
]
