# The system: an edit here changes neither the kernel, nor its parameters, nor the initrd.
{
  # Part of the system's name and version.
  label = "1";

  # What the guest says to whoever logs in.
  motd = "Hello from the mini guest.";

  # More files below /etc: "path" = "text".
  etc = { };

  # Packages: name = shell script that fills $out; what it puts into $out/bin is in the guest's PATH.
  #   hello = ''mkdir -p $out/bin; printf '#!/bin/sh\necho hello\n' > $out/bin/hello; chmod +x $out/bin/hello'';
  packages = { };

  # Shell lines that run at boot and at each live switch, when /etc is in place. When they fail, a boot goes on and a switch ends with 2.
  activation = "";

  # Shell lines that run at boot before sshd starts; the boot fails when they fail.
  startup = "";

  # Commands that run in the background from the end of the boot on: name = "shell command".
  services = { };

  # A live switch between systems that differ in this is refused: it takes a boot.
  initInterfaceVersion = "mini 1";
}
