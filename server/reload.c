#include "server/reload.h"

#include <string.h>
#include <sys/socket.h>

#include "common/log.h"
#include "replica/state.h"
#include "server/sandbox.h"
#include "server/service.h"
#include "server/tree.h"

enum {
    /* Descriptors of a worker beside its calls: listeners, epoll, the state process; generously. */
    DESCRIPTORS = 96,
};

/* What the state process has from its start, and what belongs to root's time. */
static void keep_fixed(const struct conf *old, struct conf *new)
{
    bool same = strcmp(old->node_name, new->node_name) == 0 &&
                strcmp(old->state_dir, new->state_dir) == 0 &&
                strcmp(old->user, new->user) == 0 &&
                strcmp(old->peer_listen, new->peer_listen) == 0 &&
                strcmp(old->archive_dir, new->archive_dir) == 0 &&
                old->segment_bytes == new->segment_bytes &&
                old->checkpoint_bytes == new->checkpoint_bytes &&
                old->checkpoint_ms == new->checkpoint_ms &&
                old->counters == new->counters &&
                old->metrics.len ==
                    new->metrics.len &&memcmp(&old->metrics.addr, &new->metrics.addr,
                                              old->metrics.len) == 0;

    if (same)
        return;
    log_warn(
        "%s: changes in [node] other than copies and copies-wait, in [metrics], and in [log] "
        "other than level, take a restart: the old values stay until then",
        new->path);
    new->metrics = old->metrics;
    memcpy(new->node_name, old->node_name, sizeof new->node_name);
    memcpy(new->state_dir, old->state_dir, sizeof new->state_dir);
    memcpy(new->user, old->user, sizeof new->user);
    memcpy(new->archive_dir, old->archive_dir, sizeof new->archive_dir);
    memcpy(new->peer_listen, old->peer_listen, sizeof new->peer_listen);
    if (new->peer_listen[0] == '\0') {
        new->peer_count = 0;
        new->copies = 1;
    }
    new->segment_bytes = old->segment_bytes;
    new->checkpoint_bytes = old->checkpoint_bytes;
    new->checkpoint_ms = old->checkpoint_ms;
    new->counters = old->counters;
}

/* Each worker's calls need descriptors. */
void reload_fit_calls(struct conf *conf)
{
    size_t allowed = sandbox_descriptors((size_t)conf->calls + DESCRIPTORS);

    if (allowed >= (size_t)conf->calls + DESCRIPTORS)
        return;
    conf->calls = allowed > DESCRIPTORS ? (unsigned)(allowed - DESCRIPTORS) : 1;
    log_warn(
        "a process may open %zu files (ulimit -n, LimitNOFILE=): calls = %u per worker",
        allowed, conf->calls);
}

enum err reload_read(const char *path, struct conf **conf, struct script_table **scripts,
                     struct conf_error *error)
{
    enum err err = conf_read(path, conf, error);

    if (err != ERR_OK)
        return err;
    err = script_compile(*conf, scripts, error);
    if (err != ERR_OK)
        conf_free(*conf);
    return err;
}

/* Workers fork with the new one from now on, and those there are get their successors. */
static void take_conf(struct master *m, struct conf *conf, struct script_table *scripts,
                      const struct listeners *listeners)
{
    listeners_close(&m->listeners, listeners);
    m->listeners = *listeners;
    script_table_free(m->scripts);
    conf_free(m->conf);
    m->scripts = scripts;
    m->conf = conf;
    m->generation++;
    m->replacing = true;
    log_set_level(conf->level);
    tree_fit(m);
}

/* To the state process that runs; one that starts has them from the configuration. */
static void send_settings(const struct master *m)
{
    struct state_settings new = {.level = m->conf->level,
                                 .copies = m->conf->copies,
                                 .copies_wait_ms = m->conf->copies_wait_ms,
                                 .count = m->conf->peer_count};

    if (m->state.now.pid == 0)
        return;
    memcpy(new.peers, m->conf->peers, sizeof new.peers);
    if (send(m->settings_fd, &new, sizeof new, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        err_errno("tell the new settings to", "the state process");
}

/* Whether it is in force now; else nothing has changed. */
static bool reload(struct master *m)
{
    struct script_table *scripts;
    struct listeners listeners;
    struct conf_error error;
    struct conf *conf;

    if (m->old_count + 2 * m->workers > OLD_MAX) {
        log_error(
            "%zu replaced workers still have calls: the configuration in force stays",
            m->old_count);
        return false;
    }
    if (reload_read(m->conf_path, &conf, &scripts, &error) != ERR_OK) {
        log_error("%s", error.text);
        log_error("the configuration in force stays");
        return false;
    }
    if (listeners_open(conf, &m->listeners, 0, &listeners) != ERR_OK) {
        log_error("the configuration in force stays");
        script_table_free(scripts);
        conf_free(conf);
        return false;
    }
    keep_fixed(m->conf, conf);
    reload_fit_calls(conf);
    take_conf(m, conf, scripts, &listeners);
    send_settings(m);
    log_info("%s was read again: replacing %u workers one by one", conf->path,
             m->workers);
    return true;
}

void reload_if_asked(struct master *m)
{
    struct figures_master *figures = figures_master(m->figures);

    if (m->phase != PHASE_RUN || !m->reload_asked || m->replacing)
        return;
    m->reload_asked = false;
    service_reloading();
    if (reload(m)) {
        figures_add(&figures->reloads,
                    1); /* tree_replace_one() says when it is in force. */
        return;
    }
    figures_add(&figures->reloads_refused, 1);
    tree_tell_ready(m);
}
