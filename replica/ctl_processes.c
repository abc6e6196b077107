#include "replica/ctl_processes.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file's beginning as a text; "" where it cannot be read. */
static void read_text(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    size_t len = 0;

    if (file != NULL) {
        len = fread(text, 1, size - 1, file);
        fclose(file);
    }
    text[len] = '\0';
}

static pid_t parent_of(const char *pid)
{
    char path[64], text[512];
    const char *rest;
    int parent;

    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    read_text(path, text, sizeof text);
    rest = strrchr(text, ')'); /* "PID (NAME) STATE PARENT ..." */
    return rest != NULL && sscanf(rest, ") %*c %d", &parent) == 1 ? parent : 0;
}

static void see_process(struct processes *p, const char *pid)
{
    static const char state[] = "tallyd: state", worker[] = "tallyd: worker";
    char path[64], title[64];

    snprintf(path, sizeof path, "/proc/%.20s/cmdline", pid);
    read_text(path, title, sizeof title);
    if (strncmp(title, state, sizeof state - 1) == 0)
        p->state = (pid_t)atoi(pid);
    if (strncmp(title, worker, sizeof worker - 1) != 0)
        return;
    p->worker = (pid_t)atoi(pid);
    p->workers++;
}

bool processes_look(struct processes *p)
{
    char text[32];
    struct dirent *entry;
    DIR *proc;

    *p = (struct processes){.master = 0};
    read_text("lock", text, sizeof text);
    p->master = (pid_t)atoi(text);
    proc = p->master > 0 ? opendir("/proc") : NULL;
    if (proc == NULL)
        return false;
    while ((entry = readdir(proc)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            parent_of(entry->d_name) == p->master)
            see_process(p, entry->d_name);
    closedir(proc);
    return p->state > 0 || p->workers > 0;
}
