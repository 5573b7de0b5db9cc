# The kernel's parameters: an edit here changes the command line, but neither the kernel nor the initrd.
[
  "console=ttyS0"
  "panic=-1"
  "quiet"
  # Under emulation these two make the boot shorter.
  "cryptomgr.notests"
  "mitigations=off"
]
