-- Every table of the release before migrations, filled by that release's own code.
CREATE FUNCTION prefixfleet_ledger_refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$;
CREATE TABLE prefixfleet_counted (
    tenant character varying(63) NOT NULL,
    section bigint NOT NULL,
    kind character varying(16) NOT NULL,
    place bigint NOT NULL
);
CREATE TABLE prefixfleet_feedback (
    id integer NOT NULL,
    at character varying(32) NOT NULL,
    tenant character varying(63) NOT NULL,
    version character varying(20) NOT NULL,
    arm character varying(16) NOT NULL,
    request character varying(200) NOT NULL,
    rating double precision,
    source text,
    corrected text,
    delivered boolean NOT NULL
);
CREATE SEQUENCE prefixfleet_feedback_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE prefixfleet_feedback_id_seq OWNED BY prefixfleet_feedback.id;
CREATE TABLE prefixfleet_intents (
    tenant character varying(63) NOT NULL,
    standing text NOT NULL,
    entry text NOT NULL
);
CREATE TABLE prefixfleet_judged (
    tenant character varying(63) NOT NULL,
    trial character varying(100) NOT NULL,
    seen bigint NOT NULL,
    findings text NOT NULL
);
CREATE TABLE prefixfleet_keys (
    id character varying(16) NOT NULL,
    tenant character varying(63),
    secret_sha256 character varying(64) NOT NULL,
    note character varying(200) NOT NULL,
    created_s double precision NOT NULL,
    expires_s double precision,
    revoked_s double precision
);
CREATE TABLE prefixfleet_ledger (
    id integer NOT NULL,
    at character varying(32) NOT NULL,
    tenant character varying(63) NOT NULL,
    by character varying(200) NOT NULL,
    action character varying(32) NOT NULL,
    from_version character varying(20) NOT NULL,
    to_version character varying(20) NOT NULL,
    why text NOT NULL,
    figures text NOT NULL
);
CREATE SEQUENCE prefixfleet_ledger_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE prefixfleet_ledger_id_seq OWNED BY prefixfleet_ledger.id;
CREATE TABLE prefixfleet_seen (
    tenant character varying(63) NOT NULL,
    version character varying(20) NOT NULL,
    arm character varying(16) NOT NULL,
    minute integer NOT NULL,
    section bigint NOT NULL,
    requests bigint NOT NULL,
    errors bigint NOT NULL,
    empty bigint NOT NULL,
    repeated bigint NOT NULL,
    over_long bigint NOT NULL,
    tokens bigint NOT NULL,
    agreed bigint NOT NULL,
    liked bigint NOT NULL,
    disliked bigint NOT NULL
);
CREATE TABLE prefixfleet_seen_latencies (
    tenant character varying(63) NOT NULL,
    version character varying(20) NOT NULL,
    arm character varying(16) NOT NULL,
    minute integer NOT NULL,
    section bigint NOT NULL,
    bucket integer NOT NULL,
    answers bigint NOT NULL
);
CREATE TABLE prefixfleet_standings (
    tenant character varying(63) NOT NULL,
    champion character varying(20) NOT NULL,
    challenger character varying(20) NOT NULL,
    mode character varying(16) NOT NULL,
    step integer NOT NULL,
    share double precision NOT NULL,
    started_s double precision NOT NULL,
    step_started_s double precision NOT NULL,
    changes text NOT NULL,
    paused_s double precision NOT NULL,
    pinned boolean NOT NULL
);
CREATE TABLE prefixfleet_untold (
    id integer NOT NULL,
    tenant character varying(63) NOT NULL,
    entry text NOT NULL
);
CREATE SEQUENCE prefixfleet_untold_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE prefixfleet_untold_id_seq OWNED BY prefixfleet_untold.id;
ALTER TABLE ONLY prefixfleet_feedback ALTER COLUMN id SET DEFAULT nextval('prefixfleet_feedback_id_seq'::regclass);
ALTER TABLE ONLY prefixfleet_ledger ALTER COLUMN id SET DEFAULT nextval('prefixfleet_ledger_id_seq'::regclass);
ALTER TABLE ONLY prefixfleet_untold ALTER COLUMN id SET DEFAULT nextval('prefixfleet_untold_id_seq'::regclass);
INSERT INTO prefixfleet_counted VALUES ('acme', 1777622400, 'answer', -9223372036854775808);
INSERT INTO prefixfleet_counted VALUES ('acme', 1777622400, 'answer', 0);
INSERT INTO prefixfleet_counted VALUES ('acme', 1777622400, 'answer', 9223372036854775807);
INSERT INTO prefixfleet_feedback VALUES (2, '2026-05-09T08:00:00+00:00', 'acme', '2', 'challenger', 'r2', NULL, 'the, ''tea''', 'tea', false);
INSERT INTO prefixfleet_feedback VALUES (1, '2026-05-08T08:00:00+00:00', 'acme', '2', 'challenger', 'r1', 0.25, NULL, NULL, true);
INSERT INTO prefixfleet_intents VALUES ('acme', '{"tenant": "acme", "champion": "2", "challenger": "", "mode": "", "step": 0, "share": 0.0, "started_s": 0.0, "step_started_s": 0.0, "changes": "[]", "paused_s": 0.0, "pinned": false}', '{"tenant": "acme", "by": "rollout", "action": "promote", "from_version": "1", "to_version": "2", "why": "nothing against it after 3.0 hours", "figures": {"answered_in_step": {"challenger": 120, "challenger_failed": 0, "champion": 2000, "champion_failed": 1}}, "at": "2026-05-07T08:00:00+00:00"}');
INSERT INTO prefixfleet_judged VALUES ('acme', '1/2/canary/1777622400/eefc3e352f96bca4', 2520, '[{"check": "errors", "says": "unclear", "champion": 2000, "champion_bad": 20, "challenger": 500, "challenger_bad": 7, "margin": 1.5, "evidence_worse": 1.25, "evidence_fine": 3.5, "needed": 600.0}]');
INSERT INTO prefixfleet_keys VALUES ('0123456789abcdef', 'acme', '629f3e7333d5e42090bb5f5a19903e1b11a5d2a069ab5cc94abf44d3e818ba4d', 'of the desk', 1777622400, NULL, NULL);
INSERT INTO prefixfleet_ledger VALUES (1, '2026-05-01T08:00:00+00:00', 'acme', 'retrain', 'promote', '', '1', 'the first version', '{}');
INSERT INTO prefixfleet_ledger VALUES (2, '2026-05-02T08:00:00+00:00', 'acme', 'retrain', 'challenge', '1', '2', 'it passed the gate', '{"mode": "canary", "share": 0.05}');
INSERT INTO prefixfleet_ledger VALUES (3, '2026-05-03T08:00:00+00:00', 'acme', 'rollout', 'advance', '1', '2', 'nothing against it at 5%; on to 25%', '{"answered_in_step": {"challenger": 120, "challenger_failed": 0, "champion": 2000, "champion_failed": 1}}');
INSERT INTO prefixfleet_ledger VALUES (4, '2026-05-04T08:00:00+00:00', 'birch', 'ada@desk', 'pin', '3', '3', 'by hand', '{}');
INSERT INTO prefixfleet_ledger VALUES (5, '2026-05-05T08:00:00+00:00', 'cedar', 'rollout', 'rollback', '8', '7', 'errors: 75 of 150 against the champion''s 0 of 1350 (worse; margin 1.5 on the odds)', '{}');
INSERT INTO prefixfleet_ledger VALUES (6, '2026-05-06T08:00:00+00:00', 'dale', 'mlflow', 'withdraw', '2', '', 'moved in MLflow''s page - ''quoted''; \ and
over two lines', '{}');
INSERT INTO prefixfleet_seen VALUES ('acme', '1', 'champion', 29627043, 0, 1099511627776, 0, 0, 0, 0, 90, 1, 0, 0);
INSERT INTO prefixfleet_seen VALUES ('acme', '2', 'challenger', 29627043, 0, 4, 0, 0, 0, 0, 90, 0, 0, 0);
INSERT INTO prefixfleet_seen VALUES ('acme', '2', 'challenger', 29627043, 1777622400, 3, 0, 0, 0, 0, 270, 0, 0, 0);
INSERT INTO prefixfleet_seen VALUES ('acme', '2', 'challenger', 29637120, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
INSERT INTO prefixfleet_seen VALUES ('acme', '2', 'challenger', 29638560, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
INSERT INTO prefixfleet_seen_latencies VALUES ('acme', '2', 'challenger', 29627043, 0, 4, 3);
INSERT INTO prefixfleet_seen_latencies VALUES ('acme', '2', 'challenger', 29627043, 0, 11, 1);
INSERT INTO prefixfleet_standings VALUES ('acme', '1', '2', 'canary', 1, 0.25, 1777622400.5, 1777626000.25, '[[1777622400, 0.05], [1777626000, 0.25]]', 0, false);
INSERT INTO prefixfleet_standings VALUES ('birch', '3', '', '', 0, 0, 0, 0, '[]', 0, true);
INSERT INTO prefixfleet_standings VALUES ('cedar', '7', '9', 'shadow', 0, 1, 1777622400, 1777622400, '[[1777622400, 1.0]]', 1777622460, false);
INSERT INTO prefixfleet_untold VALUES (1, 'cedar', '{"tenant": "cedar", "by": "rollout", "action": "rollback", "from_version": "8", "to_version": "7", "why": "errors: 75 of 150 against the champion''s 0 of 1350 (worse; margin 1.5 on the odds)", "figures": {}, "at": "2026-05-05T08:00:00+00:00"}');
SELECT pg_catalog.setval('prefixfleet_feedback_id_seq', 2, true);
SELECT pg_catalog.setval('prefixfleet_ledger_id_seq', 6, true);
SELECT pg_catalog.setval('prefixfleet_untold_id_seq', 1, true);
ALTER TABLE ONLY prefixfleet_counted
    ADD CONSTRAINT prefixfleet_counted_pkey PRIMARY KEY (tenant, section, kind, place);
ALTER TABLE ONLY prefixfleet_feedback
    ADD CONSTRAINT prefixfleet_feedback_pkey PRIMARY KEY (id);
ALTER TABLE ONLY prefixfleet_intents
    ADD CONSTRAINT prefixfleet_intents_pkey PRIMARY KEY (tenant);
ALTER TABLE ONLY prefixfleet_judged
    ADD CONSTRAINT prefixfleet_judged_pkey PRIMARY KEY (tenant);
ALTER TABLE ONLY prefixfleet_keys
    ADD CONSTRAINT prefixfleet_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY prefixfleet_ledger
    ADD CONSTRAINT prefixfleet_ledger_pkey PRIMARY KEY (id);
ALTER TABLE ONLY prefixfleet_seen_latencies
    ADD CONSTRAINT prefixfleet_seen_latencies_pkey PRIMARY KEY (tenant, version, arm, minute, section, bucket);
ALTER TABLE ONLY prefixfleet_seen
    ADD CONSTRAINT prefixfleet_seen_pkey PRIMARY KEY (tenant, version, arm, minute, section);
ALTER TABLE ONLY prefixfleet_standings
    ADD CONSTRAINT prefixfleet_standings_pkey PRIMARY KEY (tenant);
ALTER TABLE ONLY prefixfleet_untold
    ADD CONSTRAINT prefixfleet_untold_pkey PRIMARY KEY (id);
CREATE INDEX ix_prefixfleet_feedback_tenant ON prefixfleet_feedback USING btree (tenant);
CREATE INDEX ix_prefixfleet_keys_tenant ON prefixfleet_keys USING btree (tenant);
CREATE INDEX ix_prefixfleet_ledger_tenant ON prefixfleet_ledger USING btree (tenant);
CREATE TRIGGER prefixfleet_ledger_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON prefixfleet_ledger FOR EACH STATEMENT EXECUTE FUNCTION prefixfleet_ledger_refuse();
