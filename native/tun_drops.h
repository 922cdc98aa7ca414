// How many packets a TUN or TAP device has dropped because nobody read it: the queue of `txqueuelen` was full.
#pragma once

// A descriptor of the statistics in the network namespace that the device of `tun` is in, or -1.
int openDeviceStatistics(int tun);
// The drops of the device so far, whatever it is called by now; negative when they cannot be found out.
double deviceDrops(int statistics, int tun);
