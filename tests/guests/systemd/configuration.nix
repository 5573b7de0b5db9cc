# The system: an edit here changes neither the kernel, nor its parameters, nor the initrd.
{
  # Part of the system's name and version.
  label = "1";

  # What the boot leads to: "multi-user.target", "rescue.target" or "emergency.target".
  target = "multi-user.target";

  # More units: name = text. Those in `start` are started with the target.
  units = { };
  start = [ ];

  # More files below /etc: "path" = "text".
  etc = { };

  # Shell lines that run at boot and at each live switch, when /etc is in place.
  activation = "";

  # A live switch between systems that differ in this is refused.
  initInterfaceVersion = "systemd 2";

  # A service that fails at boot.
  failingUnit = false;

  # A mount whose device never comes. It is needed for the boot, so systemd gives up: emergency mode.
  missingDevice = false;

  # Seconds that a service takes to stop; 0: there is no such service.
  slowStop = 0;
}
