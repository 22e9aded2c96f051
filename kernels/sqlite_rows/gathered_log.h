/* What the writer of rows tells the VFS of gathered_log.c. */
#ifndef GATHERED_LOG_H
#define GATHERED_LOG_H

/* Whether what this thread writes to a log from now on may be held until the log is synced. */
void gathered_log_hold(int whether);

#endif
