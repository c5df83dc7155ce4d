-- Every table of the release before migrations, filled by that release's own code.
BEGIN TRANSACTION;
CREATE TABLE prefixfleet_counted (
	tenant VARCHAR(63) NOT NULL, 
	section BIGINT NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	place BIGINT NOT NULL, 
	PRIMARY KEY (tenant, section, kind, place)
);
INSERT INTO "prefixfleet_counted" VALUES('acme',1777622400,'answer',-9223372036854775808);
INSERT INTO "prefixfleet_counted" VALUES('acme',1777622400,'answer',0);
INSERT INTO "prefixfleet_counted" VALUES('acme',1777622400,'answer',9223372036854775807);
CREATE TABLE prefixfleet_feedback (
	id INTEGER NOT NULL, 
	at VARCHAR(32) NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	version VARCHAR(20) NOT NULL, 
	arm VARCHAR(16) NOT NULL, 
	request VARCHAR(200) NOT NULL, 
	rating FLOAT, 
	source TEXT, 
	corrected TEXT, 
	delivered BOOLEAN NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "prefixfleet_feedback" VALUES(1,'2026-05-08T08:00:00+00:00','acme','2','challenger','r1',0.25,NULL,NULL,1);
INSERT INTO "prefixfleet_feedback" VALUES(2,'2026-05-09T08:00:00+00:00','acme','2','challenger','r2',NULL,'the, ''tea''','tea',0);
CREATE TABLE prefixfleet_intents (
	tenant VARCHAR(63) NOT NULL, 
	standing TEXT NOT NULL, 
	entry TEXT NOT NULL, 
	PRIMARY KEY (tenant)
);
INSERT INTO "prefixfleet_intents" VALUES('acme','{"tenant": "acme", "champion": "2", "challenger": "", "mode": "", "step": 0, "share": 0.0, "started_s": 0.0, "step_started_s": 0.0, "changes": "[]", "paused_s": 0.0, "pinned": false}','{"tenant": "acme", "by": "rollout", "action": "promote", "from_version": "1", "to_version": "2", "why": "nothing against it after 3.0 hours", "figures": {"answered_in_step": {"challenger": 120, "challenger_failed": 0, "champion": 2000, "champion_failed": 1}}, "at": "2026-05-07T08:00:00+00:00"}');
CREATE TABLE prefixfleet_judged (
	tenant VARCHAR(63) NOT NULL, 
	trial VARCHAR(100) NOT NULL, 
	seen BIGINT NOT NULL, 
	findings TEXT NOT NULL, 
	PRIMARY KEY (tenant)
);
INSERT INTO "prefixfleet_judged" VALUES('acme','1/2/canary/1777622400/eefc3e352f96bca4',2520,'[{"check": "errors", "says": "unclear", "champion": 2000, "champion_bad": 20, "challenger": 500, "challenger_bad": 7, "margin": 1.5, "evidence_worse": 1.25, "evidence_fine": 3.5, "needed": 600.0}]');
CREATE TABLE prefixfleet_keys (
	id VARCHAR(16) NOT NULL, 
	tenant VARCHAR(63), 
	secret_sha256 VARCHAR(64) NOT NULL, 
	note VARCHAR(200) NOT NULL, 
	created_s FLOAT NOT NULL, 
	expires_s FLOAT, 
	revoked_s FLOAT, 
	PRIMARY KEY (id)
);
INSERT INTO "prefixfleet_keys" VALUES('0123456789abcdef','acme','ca5ca7fbbde418ff7c2aec1d808ca9e56b4b3b1820e36043bfedad39fd141ce1','of the desk',1777622400.0,NULL,NULL);
CREATE TABLE prefixfleet_ledger (
	id INTEGER NOT NULL, 
	at VARCHAR(32) NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	"by" VARCHAR(200) NOT NULL, 
	action VARCHAR(32) NOT NULL, 
	from_version VARCHAR(20) NOT NULL, 
	to_version VARCHAR(20) NOT NULL, 
	why TEXT NOT NULL, 
	figures TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "prefixfleet_ledger" VALUES(1,'2026-05-01T08:00:00+00:00','acme','retrain','promote','','1','the first version','{}');
INSERT INTO "prefixfleet_ledger" VALUES(2,'2026-05-02T08:00:00+00:00','acme','retrain','challenge','1','2','it passed the gate','{"mode": "canary", "share": 0.05}');
INSERT INTO "prefixfleet_ledger" VALUES(3,'2026-05-03T08:00:00+00:00','acme','rollout','advance','1','2','nothing against it at 5%; on to 25%','{"answered_in_step": {"challenger": 120, "challenger_failed": 0, "champion": 2000, "champion_failed": 1}}');
INSERT INTO "prefixfleet_ledger" VALUES(4,'2026-05-04T08:00:00+00:00','birch','ada@desk','pin','3','3','by hand','{}');
INSERT INTO "prefixfleet_ledger" VALUES(5,'2026-05-05T08:00:00+00:00','cedar','rollout','rollback','8','7','errors: 75 of 150 against the champion''s 0 of 1350 (worse; margin 1.5 on the odds)','{}');
INSERT INTO "prefixfleet_ledger" VALUES(6,'2026-05-06T08:00:00+00:00','dale','mlflow','withdraw','2','','moved in MLflow''s page - ''quoted''; \ and
over two lines','{}');
CREATE TABLE prefixfleet_seen (
	tenant VARCHAR(63) NOT NULL, 
	version VARCHAR(20) NOT NULL, 
	arm VARCHAR(16) NOT NULL, 
	minute INTEGER NOT NULL, 
	section BIGINT NOT NULL, 
	requests BIGINT NOT NULL, 
	errors BIGINT NOT NULL, 
	empty BIGINT NOT NULL, 
	repeated BIGINT NOT NULL, 
	over_long BIGINT NOT NULL, 
	tokens BIGINT NOT NULL, 
	agreed BIGINT NOT NULL, 
	liked BIGINT NOT NULL, 
	disliked BIGINT NOT NULL, 
	PRIMARY KEY (tenant, version, arm, minute, section)
);
INSERT INTO "prefixfleet_seen" VALUES('acme','1','champion',29627043,0,1099511627776,0,0,0,0,90,1,0,0);
INSERT INTO "prefixfleet_seen" VALUES('acme','2','challenger',29627043,0,4,0,0,0,0,90,0,0,0);
INSERT INTO "prefixfleet_seen" VALUES('acme','2','challenger',29627043,1777622400,3,0,0,0,0,270,0,0,0);
INSERT INTO "prefixfleet_seen" VALUES('acme','2','challenger',29637120,0,0,0,0,0,0,0,0,0,1);
INSERT INTO "prefixfleet_seen" VALUES('acme','2','challenger',29638560,0,0,0,0,0,0,0,0,0,1);
CREATE TABLE prefixfleet_seen_latencies (
	tenant VARCHAR(63) NOT NULL, 
	version VARCHAR(20) NOT NULL, 
	arm VARCHAR(16) NOT NULL, 
	minute INTEGER NOT NULL, 
	section BIGINT NOT NULL, 
	bucket INTEGER NOT NULL, 
	answers BIGINT NOT NULL, 
	PRIMARY KEY (tenant, version, arm, minute, section, bucket)
);
INSERT INTO "prefixfleet_seen_latencies" VALUES('acme','2','challenger',29627043,0,4,3);
INSERT INTO "prefixfleet_seen_latencies" VALUES('acme','2','challenger',29627043,0,11,1);
CREATE TABLE prefixfleet_standings (
	tenant VARCHAR(63) NOT NULL, 
	champion VARCHAR(20) NOT NULL, 
	challenger VARCHAR(20) NOT NULL, 
	mode VARCHAR(16) NOT NULL, 
	step INTEGER NOT NULL, 
	share FLOAT NOT NULL, 
	started_s FLOAT NOT NULL, 
	step_started_s FLOAT NOT NULL, 
	changes TEXT NOT NULL, 
	paused_s FLOAT NOT NULL, 
	pinned BOOLEAN NOT NULL, 
	PRIMARY KEY (tenant)
);
INSERT INTO "prefixfleet_standings" VALUES('acme','1','2','canary',1,0.25,1777622400.5,1777626000.25,'[[1777622400, 0.05], [1777626000, 0.25]]',0.0,0);
INSERT INTO "prefixfleet_standings" VALUES('birch','3','','',0,0.0,0.0,0.0,'[]',0.0,1);
INSERT INTO "prefixfleet_standings" VALUES('cedar','7','9','shadow',0,1.0,1777622400.0,1777622400.0,'[[1777622400, 1.0]]',1777622460.0,0);
CREATE TABLE prefixfleet_untold (
	id INTEGER NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	entry TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "prefixfleet_untold" VALUES(1,'cedar','{"tenant": "cedar", "by": "rollout", "action": "rollback", "from_version": "8", "to_version": "7", "why": "errors: 75 of 150 against the champion''s 0 of 1350 (worse; margin 1.5 on the odds)", "figures": {}, "at": "2026-05-05T08:00:00+00:00"}');
CREATE INDEX ix_prefixfleet_ledger_tenant ON prefixfleet_ledger (tenant);
CREATE INDEX ix_prefixfleet_feedback_tenant ON prefixfleet_feedback (tenant);
CREATE TRIGGER prefixfleet_ledger_no_update BEFORE UPDATE ON prefixfleet_ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER prefixfleet_ledger_no_delete BEFORE DELETE ON prefixfleet_ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE INDEX ix_prefixfleet_keys_tenant ON prefixfleet_keys (tenant);
COMMIT;
