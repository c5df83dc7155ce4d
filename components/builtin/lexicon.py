"""English words that the grammars draw from. Knows no grammar."""

NOUNS = tuple(
    """account address afternoon answer apple area art autumn bag ball bank barn basket beach bell bench bird board
    boat book border bottle bottom box branch bread brick bridge brother building bus button cake camera card
    cargo cart case castle cat ceiling centre century chair chance change chapter child choice church circle class
    clay clerk climb clock cloth cloud coach coal coast coat coffee coin colour column company copper copy corner
    cottage cotton country course court cover craft crew crop cross crowd cup curtain customer dance date daughter
    day deck degree desk detail dinner direction dish distance doctor dog door dress drink drive dust ear earth
    east edge egg engine evening event example eye face fact family farm father field figure film finger fire fish
    flag floor flour flower food forest form frame friend front fruit garden gate gift girl glass gold grain grass
    ground group guard guest guide hall hammer hand harbour hat head health heart heat height hill hive home honey
    hook hope horse hotel hour house ice idea inch ink iron island item jar job journey judge jug juice key kind
    king kitchen knife label ladder lady lake lamp land language law leaf leather lens letter level library light
    line list loan log lot lunch machine maker man map mark market master match material meal measure meat member
    metal milk mill minute mirror moment money month moon morning mother motor mountain museum music name nation
    neck needle nest net news night noise north note notice number nurse oak object ocean offer office oil orange
    order owner page paint pair paper parcel park part party path pen people period person piano picture piece
    pilot pipe place plan plant plate player pocket point pole pond pool port post pot potato powder press price
    print problem queen question quiet rail rain range rate reason record report rest result rice ring river road
    rock roof room root rope rose round route row rule sail salt sand scale school science sea season seat seed
    sense series shade shadow shape sheep sheet shelf ship shirt shoe shop shore show side sign silk silver singer
    sister size skill skin sky sleep smile smoke snow soap sock soil son song sort soup south space spoon spring
    square stable staff stage stairs stamp star start state station steam steel stem step stick stone store storm
    story street string study sugar suit summer sun supper surface table tail tale task taste tea teacher team
    telescope test thread ticket tide timber time title today tool top tower town track trade train tray tree trip
    trouble truck uncle union valley value vessel view village visit visitor voice wall watch water wave wax
    weather week weight west wheat wheel wife wind window wine wing winter wire woman wood wool word work worker
    world yard year""".split()
)

ADJECTIVES = tuple(
    """able amber ancient bare basic big bitter black blue bold brave brief bright broad brown busy calm careful
    central cheap clean clear clever close cold common complete cool correct curious daily damp dark dear deep dry
    dull early easy empty even exact extra faint fair famous far fast fine firm first flat formal free fresh full
    general gentle glad golden good grand great green grey handsome happy hard heavy high hollow honest hot huge
    humble keen kind large last late lean light little lively local lonely long loose loud low lucky main mild
    modern modest narrow natural neat new noble normal north odd old open pale patient plain pleasant polite poor
    proud pure quick quiet rare raw ready real red regular rich ripe rough round royal sad safe second secret
    sharp short silent simple slow small smart smooth soft solid special spare steady still strange strong sudden
    sunny sweet tall tender thick thin third tidy tight tiny total true upper usual vast violet warm weak wet
    white whole wide wild wise wooden yellow young""".split()
)

VERBS = tuple(
    """accepts adds allows answers appears asks becomes begins belongs brings builds buys calls carries catches
    changes checks chooses claims closes collects comes contains cooks counts covers crosses cuts delivers
    describes draws drives enters expects faces falls feeds fills finds finishes fits follows gathers gives goes
    grows guards guides hands hears helps holds hopes invites joins judges jumps keeps knows lands leads learns
    leaves lends lists lives loads looks loves makes marks measures meets mends mentions mixes moves names needs
    notes notices offers opens orders owes owns packs paints passes pays places plans plays points pours prefers
    prepares presents presses promises protects proves provides pulls pushes puts reaches reads receives records
    remains remembers reports rests returns rings rises rolls runs sails saves says sees seems selects sells sends
    serves sets settles shapes shares shines shows signs sings sits sleeps spends spreads stands starts states
    stays stops stores suggests suits supports takes tastes teaches tells tests thanks thinks tries turns uses
    visits waits wakes walks wants warms washes watches wears weighs welcomes wins wishes works writes""".split()
)

PARTICIPLES = tuple(
    """added baked based bottled bound bought bred brought built called carried chosen collected coloured completed
    cooked counted covered cut dated delivered designed drawn dressed driven filled finished fired fitted flown
    formed found framed gathered given grown handled harvested held kept known laden laid led lent lined listed
    loaded located made managed marked measured mended mixed moored named noted observed offered opened ordered
    owned packed painted picked placed planned planted poured prepared presented pressed priced printed produced
    protected pulled raised ranked rated recorded reported rested ripened rolled run sealed seated seen sent
    served set settled shaped shared shown signed sold sorted spoken spun stamped stored taken taught tested tied
    told traded treated turned used viewed visited warmed washed watched weighed woven written""".split()
)

ADVERBS = tuple(
    """again almost already always anywhere away briefly calmly carefully certainly clearly closely daily early
    easily evenly exactly fairly finally firmly first freely fully gently gladly here honestly just kindly lately
    later lightly likely locally mainly mostly nearly neatly never nicely now often once only openly partly
    perhaps plainly properly quickly quietly rarely really safely seldom shortly simply slowly softly soon still
    strongly surely today together tonight truly twice usually warmly weekly well widely wisely""".split()
)

PREPOSITIONS = tuple(
    """about above across after against along among around at before behind below beneath beside between beyond by
    down during for from in inside into near of off on onto out over past round since through till to toward under
    until up upon with within without""".split()
)

COLOURS = ("red", "blue", "green", "amber", "white", "black", "grey", "pale gold", "deep brown", "silver", "violet")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
